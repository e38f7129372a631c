// Functions that run on both sides: tests call them on the host.
#pragma once

#ifdef __CUDACC__
#define STYLOGRAM_HD __host__ __device__
#else
#define STYLOGRAM_HD
#endif
