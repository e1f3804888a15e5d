"""What `RedisStore` needs of Redis: connections, scripts, names of keys, the meaning of errors."""
