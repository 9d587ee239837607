"""Answers for people: status, the questions of two in the morning, preflight. Reads only."""
