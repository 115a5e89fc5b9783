"""Kubernetes: raw objects into the model, and decisions into patches. The only room that imports the client."""
