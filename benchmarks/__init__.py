"""Speed, measured side by side in one run and printed with the machine; never asserted."""
