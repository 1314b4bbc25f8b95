/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * keys: those that config.yaml leaves out. Each is made at the first start and kept in a file of
 * the data folder that only its owner can read: admin.key, and encryption.key for the secrets in
 * the store.
 */
#include "config/settings.h"

/* Complete s. 0, or -1 with e. */
int keys_ensure(struct settings *s, const char *data, struct err *e);
