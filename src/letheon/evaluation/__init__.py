"""One teacher-forced pass over a data set -> per-token records; batched generation."""
