"""Campaigns: who gets which offer, approved by whom, and what it really earned.

draft → submitted → approved → sending → live → measuring → closed; `states` holds the graph, everything that moves a
campaign is SQL and light. Drafting, sending and measuring are heavy and import their libraries inside functions.
"""
