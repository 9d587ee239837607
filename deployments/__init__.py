"""Puts Gapless on machines; imported by no one."""

from gapless import refuse_neighbours

refuse_neighbours()
