#include "ctl/key_argument.h"

#include "ctl/out.h"

bool key_argument_read(const struct invocation *invocation, const char *text,
                       struct key_argument *key) {
    key->bytes = bytes_of_text(text);
    if (invocation->options.hex) {
        uint32_t size;
        if (!text_unhex(text, key->memory, KEY_BYTES_MAX, &size)) {
            out_failure(&invocation->settings,
                        "--hex: expected up to %d pairs of hexadecimal digits, got \"%s\"",
                        KEY_BYTES_MAX, text);
            return false;
        }
        key->bytes = bytes_of(key->memory, size);
    }
    if (key->bytes.size == 0 || key->bytes.size > KEY_BYTES_MAX) {
        out_failure(&invocation->settings, "a key has 1 to %d bytes, this one %u", KEY_BYTES_MAX,
                    key->bytes.size);
        return false;
    }
    text_escape(key->bytes, key->escaped);
    return true;
}
