"""The gRPC services: requests to calls, results to responses, nothing else."""
