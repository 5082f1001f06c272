"""One conversation, one batching engine, one form of request and answer: what `afina.serve` and the twins stand on."""
