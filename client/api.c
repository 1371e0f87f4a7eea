/* The functions that ask: blocking and asynchronous, each a call or a group of them. */
#include <stdlib.h>

#include "client/client.h"

/* --- blocking -------------------------------------------------------------------------------- */

static void calls_free(struct call_list calls) {
    struct call *call;
    while ((call = call_list_pop(&calls)) != NULL) {
        free(call);
    }
}

/* Makes a call of each take. On an error `*at` tells which take, and there are none. */
static enum sluice_error calls_create(const struct sluice_request *takes, size_t count,
                                      enum verb verb, struct group *group, char *message,
                                      size_t *at, struct call_list *calls) {
    *calls = (struct call_list){0};
    for (*at = 0; *at < count; ++*at) {
        struct call *call;
        enum sluice_error error = call_create(&takes[*at], verb, message, &call);
        if (error != SLUICE_OK) {
            calls_free(*calls);
            return error;
        }
        call->group = group;
        call->index = *at;
        call_list_push(calls, call);
    }
    return SLUICE_OK;
}

static enum sluice_error ask_blocking(struct sluice_client *client,
                                      const struct sluice_request *takes, size_t count,
                                      enum verb verb, struct sluice_result *results) {
    struct group group;
    struct call_list calls;
    char message[SLUICE_MESSAGE_BYTES_MAX] = "";
    size_t at;
    enum sluice_error error = calls_create(takes, count, verb, &group, message, &at, &calls);
    if (error == SLUICE_OK) {
        group_init_blocking(&group, count, results);
        error = client_submit(client, calls, (uint32_t)count);
        if (error == SLUICE_OK) {
            group_wait_blocking(&group);
            for (size_t i = 0; i < count && error == SLUICE_OK; i++) {
                error = results[i].error;
            }
            return error;
        }
        calls_free(calls);
    }
    for (size_t i = 0; i < count; i++) {
        result_fail(&results[i], error, message[0] != '\0' && i == at ? message : NULL);
    }
    return error;
}

enum sluice_error sluice_take(struct sluice_client *client, const struct sluice_request *take,
                              struct sluice_result *result) {
    return ask_blocking(client, take, 1, VERB_TAKE, result);
}

enum sluice_error sluice_peek(struct sluice_client *client, const struct sluice_request *take,
                              struct sluice_result *result) {
    return ask_blocking(client, take, 1, VERB_PEEK, result);
}

enum sluice_error sluice_refund(struct sluice_client *client, const struct sluice_request *take,
                                struct sluice_result *result) {
    return ask_blocking(client, take, 1, VERB_REFUND, result);
}

enum sluice_error sluice_take_many(struct sluice_client *client, const struct sluice_request *takes,
                                   size_t count, struct sluice_result *results) {
    if (count < 1 || count > SLUICE_TAKES_MAX) {
        return SLUICE_INVALID;
    }
    return ask_blocking(client, takes, count, VERB_TAKE, results);
}

/* --- asynchronous ---------------------------------------------------------------------------- */

static enum sluice_error ask_async(struct sluice_client *client, const struct sluice_request *take,
                                   enum verb verb, sluice_callback callback, void *context) {
    struct call *call;
    if (callback == NULL) {
        return SLUICE_INVALID;
    }
    enum sluice_error error = call_create(take, verb, NULL, &call);
    if (error != SLUICE_OK) {
        return error;
    }
    call->callback = callback;
    call->context = context;
    struct call_list one = {0};
    call_list_push(&one, call);
    error = client_submit(client, one, 1);
    if (error != SLUICE_OK) {
        free(call);
    }
    return error;
}

enum sluice_error sluice_take_async(struct sluice_client *client, const struct sluice_request *take,
                                    sluice_callback callback, void *context) {
    return ask_async(client, take, VERB_TAKE, callback, context);
}

enum sluice_error sluice_peek_async(struct sluice_client *client, const struct sluice_request *take,
                                    sluice_callback callback, void *context) {
    return ask_async(client, take, VERB_PEEK, callback, context);
}

enum sluice_error sluice_refund_async(struct sluice_client *client,
                                      const struct sluice_request *take, sluice_callback callback,
                                      void *context) {
    return ask_async(client, take, VERB_REFUND, callback, context);
}

enum sluice_error sluice_take_many_async(struct sluice_client *client,
                                         const struct sluice_request *takes, size_t count,
                                         sluice_many_callback callback, void *context) {
    if (count < 1 || count > SLUICE_TAKES_MAX || callback == NULL) {
        return SLUICE_INVALID;
    }
    struct group *group = group_create(count, callback, context);
    if (group == NULL) {
        return SLUICE_NO_MEMORY;
    }
    struct call_list calls;
    size_t at;
    enum sluice_error error = calls_create(takes, count, VERB_TAKE, group, NULL, &at, &calls);
    if (error == SLUICE_OK) {
        error = client_submit(client, calls, (uint32_t)count);
        if (error != SLUICE_OK) {
            calls_free(calls);
        }
    }
    if (error != SLUICE_OK) {
        free(group);
    }
    return error;
}
