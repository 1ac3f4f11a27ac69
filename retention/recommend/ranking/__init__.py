"""The second stage: candidates put in order by what past horizons taught."""
