"""The streaming back end: every layer has hardware of its own, and beats flow through all of it."""
