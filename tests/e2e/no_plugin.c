/*
 * A shared object that is no plugin: it has no symbol fg_plugin.
 */
int not_a_plugin(void);

__attribute__((visibility("default"))) int not_a_plugin(void)
{
	return 0;
}
