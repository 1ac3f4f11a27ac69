"""Draft, approve, send and measure campaigns.

A campaign goes draft → submitted → approved → scheduled → sending → live → measuring → closed.
`states` holds the graph. State changes are SQL only and light. Drafting, sending and measuring
import heavy libraries inside functions.
"""
