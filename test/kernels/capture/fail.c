/* SPDX-License-Identifier: Apache-2.0 */
/* How a part says that it cannot go on, and what time it is. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "capture.h"

/* Prints `error …` with the cause that errno names, and ends. */
void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	printf("error ");
	vprintf(format, arguments);
	printf(": %s\n", strerror(errno));
	va_end(arguments);
	exit(1);
}

/* Since some moment. */
double milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}
