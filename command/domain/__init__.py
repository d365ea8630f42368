"""The rules of the shop, as plain functions: `decide(state, command) -> events`, `evolve(state, event) -> state`.

No clock, no ids, no database, no framework: whatever a decision depends on is passed in.
"""
