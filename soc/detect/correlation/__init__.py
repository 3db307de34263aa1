"""Correlations: what a correlation asks for (`spec`), whether a window satisfies it (`windows`), its rows in the state database
(`rows`), and the pass over new matches that ties them together (`correlator`). See docs/correlations.md.
"""
