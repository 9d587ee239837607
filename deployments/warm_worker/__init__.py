"""A process worker of Prefect whose flow runs begin warm: forked from a process that has the libraries loaded."""
