/* What sluicectl makes of what the cluster answers, whatever that is: a JSON document that is the
 * same when it is read again, or nothing. */
#include "ctl/out.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size + 1); /* of its exact size, so that a read beyond it is seen */
    FUZZ_CHECK(copy != NULL);
    memcpy(copy, data, size);
    json_t *json = json_of_value(bytes_of(copy, size));
    free(copy); /* the document has copies */
    if (json == NULL) {
        return 0;
    }
    char *text = json_dumps(json, JSON_ENCODE_ANY | JSON_PRESERVE_ORDER);
    FUZZ_CHECK(text != NULL);
    json_error_t error;
    json_t *again = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    FUZZ_CHECK(again != NULL && json_equal(json, again));
    free(text);
    json_decref(again);
    json_decref(json);
    return 0;
}
