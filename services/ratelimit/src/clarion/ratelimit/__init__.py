"""Rate limits: policies and exact rolling windows in Valkey."""
