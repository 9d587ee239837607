"""Answers for people: status, the questions of two in the morning, preflight. What they write, they take away."""
