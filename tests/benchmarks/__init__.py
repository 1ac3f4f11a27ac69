"""What ``make bench`` measures: see docs/operator/performance.md, which it writes."""
