"""What serves an encoder: shards, indexes, engines and exports."""
