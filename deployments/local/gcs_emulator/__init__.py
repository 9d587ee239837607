"""The local Cloud Storage: the emulator as released, behind a door of ours."""
