"""Faults on purpose: what would become of a source's dates if everything that can fail did?"""
