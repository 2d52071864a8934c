"""From a history to findings: rules, one file each, and the engine that runs them."""
