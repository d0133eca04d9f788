"""From files to labelled frames: keys, units, references, copies and splits."""
