"""The same run in other processes: windows as deployed runs, what parent and windows tell each other, shared rates."""
