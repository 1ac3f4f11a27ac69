"""Stand-ins of other systems: real HTTP servers that a test starts, or a person as a process."""
