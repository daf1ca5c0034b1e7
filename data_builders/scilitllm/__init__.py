"""The scilitllm recipe's data: literature to pre-train on, synthetic scientific instructions, published benchmarks."""
