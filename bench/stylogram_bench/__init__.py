"""The comparison of Stylogram with PyTorch on the same work in one run. Needs torch (`stylogram[torch]`)."""
