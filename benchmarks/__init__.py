"""How fast Durably is: `python -m benchmarks` runs all, `python -m benchmarks NAME` one. See README.md."""
