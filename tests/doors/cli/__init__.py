"""The `focus` command as people and scripts meet it: a real process every time."""
