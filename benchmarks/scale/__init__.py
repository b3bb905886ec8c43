"""Training steps compiled for TPU pods, without one: memory, work and communication."""
