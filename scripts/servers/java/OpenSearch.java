import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.opensearch.analysis.common.CommonAnalysisPlugin;
import org.opensearch.common.settings.Settings;
import org.opensearch.index.reindex.ReindexPlugin;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.painless.PainlessPlugin;
import org.opensearch.plugins.Plugin;
import org.opensearch.transport.Netty4Plugin;

/** A node of OpenSearch on 127.0.0.1 from its jars: OpenSearch PORT FOLDER. */
public class OpenSearch extends Node {
    private static final List<Class<? extends Plugin>> PLUGINS = List.of(
        Netty4Plugin.class, PainlessPlugin.class, CommonAnalysisPlugin.class, ReindexPlugin.class);

    private OpenSearch(Settings settings, Collection<Class<? extends Plugin>> plugins) {
        super(InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "node"), plugins, true);
    }

    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[1]);
        Files.createDirectories(folder.resolve("config"));
        Settings settings = Settings.builder()
            .put("cluster.name", "kvwrap-test")
            .put("node.name", "node")
            .put("path.home", folder.toString())
            .put("network.host", "127.0.0.1")
            .put("http.port", arguments[0])
            .put("transport.port", "0")
            .put("http.type", "netty4")
            .put("transport.type", "netty4")
            .put("discovery.type", "single-node")
            .put("action.destructive_requires_name", false)
            // Tests write little, also where the disk is nearly full.
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        new OpenSearch(settings, PLUGINS).start();
        Thread.currentThread().join();
    }
}
