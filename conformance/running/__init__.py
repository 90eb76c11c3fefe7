"""Running cases and judging what they leave behind.

`plan` says which cases run, `pool` and `process` run them in `worker` processes, `judge` makes results of outcomes, and
`session` ties these together into one run that yields records.
"""
