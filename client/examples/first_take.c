/*
 * The smallest complete program: may alice spend a token?
 *
 *     cc first_take.c $(pkg-config --cflags --libs sluice) -o first_take && ./first_take
 */
#include <inttypes.h>
#include <sluice/client.h>
#include <stdio.h>

int main(int argc, char **argv) {
    struct sluice_client *client;
    struct sluice_request take = {.key = argc > 1 ? argv[1] : "alice", .cost = 1};
    struct sluice_result result;

    enum sluice_error error =
        sluice_open(&client, argc > 2 ? argv[2] : "tcp://127.0.0.1:7400", NULL);
    if (error != SLUICE_OK) {
        fprintf(stderr, "cannot open a client: %s\n", sluice_error_text(error));
        return 2;
    }
    error = sluice_take(client, &take, &result);
    if (error != SLUICE_OK) {
        fprintf(stderr, "no answer: %s: %s\n", sluice_error_name(error), result.message);
    } else if (result.allowed) {
        printf("granted, %" PRIu64 " of %" PRIu64 " left\n", result.remaining, result.limit);
    } else {
        printf("refused, try again in %" PRId64 " us\n", result.retry_after_us);
    }
    sluice_close(client);
    return error != SLUICE_OK ? 2 : result.allowed ? 0 : 1;
}
