#include "client/call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/plan.h"
#include "proto/request.h"

#define NS_PER_MS UINT64_C(1000000)

/* Bytes of the longest params: a key and a plan's name, or three numbers, and the options. */
#define PARAMS_BYTES_MAX (KEY_BYTES_MAX + 128)

_Static_assert(SLUICE_KEY_BYTES_MAX == KEY_BYTES_MAX, "the header speaks of the protocol's bounds");
_Static_assert(SLUICE_TOKENS_MAX == TOKENS_MAX, "the header speaks of the protocol's bounds");
_Static_assert(SLUICE_TAKES_MAX == TAKES_PER_REQUEST_MAX, "one take_many fits one request");
_Static_assert(SLUICE_DEADLINE_MS_DEFAULT == DEADLINE_MS_DEFAULT, "a batch has the same deadline");
_Static_assert(SLUICE_DEADLINE_MS_MAX == DEADLINE_MS_MAX, "the header speaks of the bounds");
_Static_assert(SLUICE_MESSAGE_BYTES_MAX == FAULT_TEXT_BYTES_MAX, "messages are copied whole");

static const struct {
    const char *name;
    const char *text;
} errors[] = {
#define X(name, text) [SLUICE_##name] = {"SLUICE_" #name, text},
    SLUICE_ERRORS(X)
#undef X
};

static bool error_known(enum sluice_error error) {
    return (unsigned)error < sizeof errors / sizeof errors[0];
}

const char *sluice_error_text(enum sluice_error error) {
    return error_known(error) ? errors[error].text : "no error of this version";
}

const char *sluice_error_name(enum sluice_error error) {
    return error_known(error) ? errors[error].name : "SLUICE_?";
}

void result_fail(struct sluice_result *result, enum sluice_error error, const char *message) {
    memset(result, 0, sizeof *result);
    result->error = error;
    snprintf(result->message, sizeof result->message, "%s",
             message != NULL ? message : sluice_error_text(error));
}

/* --- creating ------------------------------------------------------------------------------- */

static enum code plan_check(const struct sluice_request *take, struct plan_choice *plan,
                            struct fault *fault) {
    *plan = (struct plan_choice){.kind = PLAN_CHOICE_DEFAULT};
    if (take->plan != NULL && take->limit != NULL) {
        return fault_set(fault, CODE_BAD_REQUEST, "plan and limit exclude each other");
    }
    if (take->plan != NULL) {
        plan->kind = PLAN_CHOICE_NAMED;
        plan->name = bytes_of_text(take->plan);
        return name_valid(plan->name)
                   ? CODE_OK
                   : fault_set(fault, CODE_BAD_REQUEST, "no plan can have that name");
    }
    if (take->limit == NULL) {
        return CODE_OK;
    }
    uint64_t period_ms = take->limit->period_ms == 0 ? 1000 : take->limit->period_ms;
    if (period_ms > PERIOD_NS_MAX / NS_PER_MS) {
        return fault_set(fault, CODE_BAD_REQUEST, "limit: period must be at most 400 days");
    }
    plan->kind = PLAN_CHOICE_INLINE;
    plan->limit.rate_tokens = take->limit->rate;
    plan->limit.period_ns = period_ms * NS_PER_MS;
    plan->limit.burst_tokens = take->limit->burst == 0 ? take->limit->rate : take->limit->burst;
    return limit_check(&plan->limit, "limit", fault);
}

static enum code take_check(const struct sluice_request *asked, struct take *take,
                            struct fault *fault) {
    size_t size = asked->key_size != 0 || asked->key == NULL ? asked->key_size : strlen(asked->key);
    if (asked->key == NULL || size < 1 || size > KEY_BYTES_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "a key has 1 to %d bytes, this one %zu",
                         KEY_BYTES_MAX, size);
    }
    if (asked->cost > TOKENS_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "cost %" PRIu64 " is above %" PRIu64, asked->cost,
                         TOKENS_MAX);
    }
    if (asked->deadline_ms > DEADLINE_MS_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "deadline_ms %u is above %d", asked->deadline_ms,
                         DEADLINE_MS_MAX);
    }
    take->key = bytes_of(asked->key, size);
    take->cost_tokens = asked->cost;
    take->deadline_ms = asked->deadline_ms == 0 ? DEADLINE_MS_DEFAULT : asked->deadline_ms;
    return plan_check(asked, &take->plan, fault);
}

enum sluice_error call_create(const struct sluice_request *take, enum verb verb,
                              char message[SLUICE_MESSAGE_BYTES_MAX], struct call **out) {
    struct take checked = {0};
    struct fault fault;
    if (take_check(take, &checked, &fault) != CODE_OK) {
        if (message != NULL) {
            snprintf(message, SLUICE_MESSAGE_BYTES_MAX, "%s", fault.text);
        }
        return SLUICE_INVALID;
    }
    bool has_default = checked.deadline_ms == DEADLINE_MS_DEFAULT;
    uint8_t params[PARAMS_BYTES_MAX];
    struct writer writer = writer_of(params, sizeof params);
    request_write_take(&writer, &checked, has_default ? 0 : checked.deadline_ms);
    struct call *call = writer.overflow ? NULL : malloc(sizeof *call + writer.size);
    if (call == NULL) {
        return SLUICE_NO_MEMORY;
    }
    memset(call, 0, sizeof *call);
    call->verb = verb;
    call->may_batch = verb == VERB_TAKE && has_default;
    call->deadline_ms = checked.deadline_ms;
    call->params_size = writer.size;
    memcpy(call->params, params, writer.size);
    *out = call;
    return SLUICE_OK;
}

/* --- ending --------------------------------------------------------------------------------- */

/* One call of the group less; the last one tells. */
static void group_end_one(struct group *group) {
    if (atomic_fetch_sub(&group->left, 1) > 1) {
        return;
    }
    if (group->callback != NULL) {
        group->callback(group->context, group->results, group->count);
        free(group);
        return;
    }
    pthread_mutex_lock(&group->mutex);
    group->is_ended = true;
    pthread_cond_signal(&group->ended);
    pthread_mutex_unlock(&group->mutex);
}

void call_end(struct call *call, const struct sluice_result *result) {
    if (call->group != NULL) {
        call->group->results[call->index] = *result;
        group_end_one(call->group);
    } else {
        call->callback(call->context, result);
    }
    free(call);
}

void call_fail(struct call *call, enum sluice_error error, const char *message) {
    struct sluice_result result;
    result_fail(&result, error, message);
    call_end(call, &result);
}

void group_init_blocking(struct group *group, size_t count, struct sluice_result *results) {
    memset(group, 0, sizeof *group);
    atomic_init(&group->left, count);
    group->count = count;
    group->results = results;
    pthread_mutex_init(&group->mutex, NULL);
    pthread_cond_init(&group->ended, NULL);
}

void group_wait_blocking(struct group *group) {
    pthread_mutex_lock(&group->mutex);
    while (!group->is_ended) {
        pthread_cond_wait(&group->ended, &group->mutex);
    }
    pthread_mutex_unlock(&group->mutex);
    pthread_cond_destroy(&group->ended);
    pthread_mutex_destroy(&group->mutex);
}

struct group *group_create(size_t count, sluice_many_callback callback, void *context) {
    struct group *group = calloc(1, sizeof *group + count * sizeof group->results[0]);
    if (group != NULL) {
        atomic_init(&group->left, count);
        group->count = count;
        group->results = (struct sluice_result *)(group + 1);
        group->callback = callback;
        group->context = context;
    }
    return group;
}
