"""What a caller presents: tokens, keys and JWTs; what each may do, and when it ends."""
