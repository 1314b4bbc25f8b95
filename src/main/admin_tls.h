/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* admin_tls: TLS for the Admin API, with certificates from files. Control thread. */
#include "config/settings.h"
#include "net/tls.h"

/* Read what s asks for, for admin_tls_use(). 0, or -1 with e. */
int admin_tls_load(const struct settings *s, struct err *e);
/* What was loaded last takes the place of what was in use before; connections go on. s, of which it
 * was loaded, must stay as long. NULL: no TLS. */
struct tls_acceptor *admin_tls_use(void);
