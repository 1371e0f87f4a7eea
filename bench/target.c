#include "bench/target.h"

const struct target *target_of_name(const char *name) {
    static const struct target *const all[] = {
        &target_sluice, &target_map, &target_core,   &target_echo, &target_redis,
        &target_cell,   &target_kv,  &target_hybrid, &target_http, &target_throttlecrab,
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(all[i]->name, name) == 0) {
            return all[i];
        }
    }
    return NULL;
}
