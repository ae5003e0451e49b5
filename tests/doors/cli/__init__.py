"""Tests of the `focus` command, each in a real process."""
