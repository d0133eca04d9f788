"""One run on disk: its folder, log, state and how it goes on."""
