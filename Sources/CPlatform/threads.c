// Threads: what the C library declares for GNU programs only, and Swift's import of it therefore lacks.
#define _GNU_SOURCE
#include "CPlatform.h"

#include <pthread.h>

void martlet_set_thread_name(const char *name) { pthread_setname_np(pthread_self(), name); }
