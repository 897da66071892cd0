/* SPDX-License-Identifier: Apache-2.0 */
/* Prints what the maps and the ring hold, a line each: keys and values as they are, in hexadecimal. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "capture.h"

static void print_hex(const void *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)data)[i]);
}

/* In one batch where the kernel has that (5.6), else key by key. */
static void dump_map(const char *word, struct bpf_map *map, bool *batched)
{
	__u32 key_size = bpf_map__key_size(map), value_size = bpf_map__value_size(map), count = bpf_map__max_entries(map);
	char *keys = calloc(count, key_size), *values = calloc(count, value_size);
	__u32 cursor = 0;
	int error = bpf_map_lookup_batch(bpf_map__fd(map), NULL, &cursor, keys, values, &count, NULL);

	*batched = !error || error == -ENOENT;
	if (!*batched) {
		void *previous = NULL;

		for (count = 0; count < bpf_map__max_entries(map); count++) {
			if (bpf_map_get_next_key(bpf_map__fd(map), previous, keys + count * key_size))
				break;
			previous = keys + count * key_size;
			bpf_map_lookup_elem(bpf_map__fd(map), previous, values + count * value_size);
		}
	}
	for (__u32 i = 0; i < count; i++) {
		printf("%s ", word);
		print_hex(keys + i * key_size, key_size);
		printf(" ");
		print_hex(values + i * value_size, value_size);
		printf("\n");
	}
	free(keys);
	free(values);
}

static int print_event(void *context, void *data, size_t size)
{
	printf("event ");
	print_hex(data, size);
	printf("\n");
	return 0;
}

void dump(struct bpf_object *object)
{
	struct ring_buffer *ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "events"), print_event, NULL, NULL);
	int losses = bpf_object__find_map_fd_by_name(object, "losses"), cpus = libbpf_num_possible_cpus();
	__u64 *cells = calloc(cpus, sizeof(*cells));
	bool batched;

	dump_map("view4", bpf_object__find_map_by_name(object, "views4"), &batched);
	dump_map("view6", bpf_object__find_map_by_name(object, "views6"), &batched);
	dump_map("hook", bpf_object__find_map_by_name(object, "hooks"), &batched);
	printf("batch %d\n", batched);
	for (__u32 which = 0; which < LOSS_COUNT; which++) {
		__u64 sum = 0;

		bpf_map_lookup_elem(losses, &which, cells);
		for (int cpu = 0; cpu < cpus; cpu++)
			sum += cells[cpu];
		printf("loss %u %llu\n", which, (unsigned long long)sum);
	}
	if (!ring || ring_buffer__consume(ring) < 0)
		fail("ring");
	printf("ring 1\n");
	ring_buffer__free(ring);
	free(cells);
}
