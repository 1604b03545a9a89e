"""Tests of the questions that ``codesign ask`` answers."""
