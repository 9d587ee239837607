"""The embedded stack: the real components, or emulators of them, as child processes on 127.0.0.1."""
