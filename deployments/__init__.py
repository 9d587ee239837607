"""Puts Gapless on machines; imported by no one."""
