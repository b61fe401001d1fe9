"""Speed and memory, side by side with a peer in one run. Figures and failures: RESULTS.md."""
