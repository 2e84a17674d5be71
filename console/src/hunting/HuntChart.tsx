import { BarChart, LineChart, PieChart, ScatterChart } from 'echarts/charts';
import {
  AriaComponent,
  DataZoomComponent,
  GridComponent,
  LegendComponent,
  TitleComponent,
  TooltipComponent,
} from 'echarts/components';
import * as echarts from 'echarts/core';
import { CanvasRenderer } from 'echarts/renderers';
import { useEffect, useRef } from 'react';
import type { ChartModel } from '../logic/charts';
import { usePrefs } from '../prefs';
import { useTheme } from '../theme';

echarts.use([
  BarChart,
  LineChart,
  PieChart,
  ScatterChart,
  GridComponent,
  LegendComponent,
  TitleComponent,
  TooltipComponent,
  DataZoomComponent,
  AriaComponent,
  CanvasRenderer,
]);

/** Told apart by people who do not see red or green, on light and on dark. */
const PALETTE = {
  light: ['#0e7090', '#b45309', '#6d28d9', '#15803d', '#be185d', '#1d4ed8', '#854d0e', '#0f766e', '#9f1239', '#4d7c0f'],
  dark: ['#7dc4e0', '#f5b567', '#c4a7f5', '#7fd49b', '#f29ac0', '#93b7fa', '#e0c46c', '#6fd3c7', '#f7909f', '#b9dc74'],
};

/** More marks on a line than this are a smear. */
const SYMBOLS_MAX = 60;

type Colour = (variable: string) => string;

function seriesOf(model: ChartModel, ink: Colour): object[] {
  if (model.kind === 'piechart')
    return [
      {
        type: 'pie',
        radius: ['30%', '60%'],
        center: ['50%', model.title ? '54%' : '50%'],
        itemStyle: { borderColor: ink('--colorNeutralBackground1'), borderWidth: 2 },
        label: { color: ink('--colorNeutralForeground1'), formatter: '{b}  {d} %' },
        labelLine: { lineStyle: { color: ink('--colorNeutralStroke1') } },
        data: (model.series[0]?.points ?? []).map(([x, y]) => ({ name: model.categories[x] ?? '', value: y })),
      },
    ];
  const line = model.kind === 'timechart' || model.kind === 'linechart';
  const area = model.kind === 'areachart' || model.kind === 'stackedareachart';
  const bar = model.kind === 'barchart' || model.kind === 'columnchart';
  const totals = new Map<number, number>();
  if (model.stack === 'stacked100')
    for (const s of model.series) for (const [x, y] of s.points) totals.set(x, (totals.get(x) ?? 0) + y);
  return model.series.map((s) => {
    const points = s.points.map(([x, y]) => [x, totals.get(x) ? (y / (totals.get(x) ?? 1)) * 100 : y]);
    return {
      name: s.name,
      type: bar ? 'bar' : line || area ? 'line' : 'scatter',
      stack: model.stack === 'none' ? undefined : 'all',
      areaStyle: area ? { opacity: 0.3 } : undefined,
      showSymbol: points.length <= SYMBOLS_MAX,
      symbolSize: model.kind === 'scatterchart' ? 8 : 5,
      barMaxWidth: 44,
      data: model.kind === 'barchart' ? points.map(([x, y]) => [y, x]) : points,
    };
  });
}

/** Room for the legend's longest name, bounded so that the chart keeps most of the width. */
function legendWidth(model: ChartModel): number {
  const longest = Math.max(...model.series.map((s) => s.name.length));
  return Math.min(260, 64 + Math.round(longest * 6.2));
}

function optionOf(
  model: ChartModel,
  label: string,
  ink: Colour,
  colours: string[],
  utc: boolean,
  font: string,
): Record<string, unknown> {
  const text = ink('--colorNeutralForeground2');
  const soft = { color: text, fontSize: 11, hideOverlap: true };
  const shared = { nameTextStyle: { color: text, fontSize: 11 }, axisLabel: soft };
  const x =
    model.x === 'category'
      ? { type: 'category', data: model.categories, axisLabel: { ...soft, width: 180, overflow: 'truncate' } }
      : { type: model.x, axisLabel: soft, scale: true };
  const y = { type: 'value', min: model.yMin ?? undefined, max: model.yMax ?? undefined, ...shared };
  const lines = { splitLine: { lineStyle: { color: ink('--colorNeutralStroke3') } } };
  const plain = { axisLine: { lineStyle: { color: ink('--colorNeutralStroke1') } }, axisTick: { show: false } };
  const flat = model.kind === 'barchart';
  const legend = model.legend && (model.series.length > 1 || model.kind === 'piechart');
  const named = { nameLocation: 'middle', nameTextStyle: { color: text, fontSize: 11 } };
  const category = { ...x, ...plain, ...named };
  return {
    animation: false,
    useUTC: utc,
    color: colours,
    aria: { enabled: true, label: { description: label } },
    textStyle: { fontFamily: font },
    title: model.title
      ? { text: model.title, left: 12, top: 6, textStyle: { color: ink('--colorNeutralForeground1'), fontSize: 14 } }
      : undefined,
    legend: legend
      ? {
          type: 'scroll',
          orient: 'vertical',
          right: 12,
          top: 36,
          bottom: 12,
          textStyle: { color: text, fontSize: 11, width: 200, overflow: 'truncate' },
          pageIconColor: text,
          pageTextStyle: { color: text },
        }
      : undefined,
    grid: {
      left: flat ? 28 : 36,
      right: legend ? legendWidth(model) : 24,
      top: model.title ? 42 : 24,
      bottom: 30,
      containLabel: true,
    },
    tooltip: {
      trigger: model.kind === 'piechart' || model.kind === 'scatterchart' ? 'item' : 'axis',
      // On the canvas: an HTML tooltip would need inline styles.
      renderMode: 'richText',
      confine: true,
      order: 'valueDesc',
      backgroundColor: ink('--colorNeutralBackground1'),
      borderColor: ink('--colorNeutralStroke1'),
      textStyle: { color: ink('--colorNeutralForeground1'), fontSize: 12 },
    },
    ...(model.kind === 'piechart'
      ? {}
      : flat
        ? {
            xAxis: { ...y, ...lines, name: model.yTitle, nameGap: 26, ...named },
            yAxis: { ...category, inverse: true, name: '' },
          }
        : {
            xAxis: { ...category, name: model.xTitle, nameGap: 26, splitLine: { show: false } },
            yAxis: { ...y, ...lines, name: model.yTitle, nameGap: 44, ...named },
          }),
    dataZoom: model.x === 'time' ? [{ type: 'inside' }] : undefined,
    series: seriesOf(model, ink),
  };
}

/** What `render` asks for. */
export default function HuntChart({ model, label }: { model: ChartModel; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const { name } = useTheme();
  const { zone } = usePrefs();
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const chart = echarts.init(element);
    const observer = new ResizeObserver(() => chart.resize());
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.dispose();
    };
  }, []);
  useEffect(() => {
    const element = box.current;
    const chart = element && echarts.getInstanceByDom(element);
    if (!element || !chart) return;
    const css = getComputedStyle(element);
    const ink: Colour = (variable) => css.getPropertyValue(variable).trim() || '#888';
    const colours = name === 'light' ? PALETTE.light : PALETTE.dark;
    chart.setOption(optionOf(model, label, ink, colours, zone === 'utc', css.fontFamily), { notMerge: true });
  }, [model, label, name, zone]);
  return <div ref={box} role="img" aria-label={label} className="hunt-chart" data-chart={model.kind} />;
}
