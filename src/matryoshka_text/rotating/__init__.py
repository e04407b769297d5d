"""The job that learns a rotation: texts to vectors, vectors to a matrix, the matrix into a model."""
